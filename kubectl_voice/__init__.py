"""`kubectl voice`: calls, pools and what is wrong with them, by the rights of whoever asks."""
