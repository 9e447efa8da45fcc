/** The sign-in's only program: remembers which call somebody wanted to see. The form works without it. */

import { wantedAfter } from "./wanted";

const field = document.getElementById("next");
if (field instanceof HTMLInputElement) field.value = wantedAfter(location.pathname, location.search);
