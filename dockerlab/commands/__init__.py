"""Docker's command line, once: the terminal and the notebook are two thin surfaces over it."""
