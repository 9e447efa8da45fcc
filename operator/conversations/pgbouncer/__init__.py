"""What PgBouncer tells of itself: a program beside it, which has no metrics."""
