"""Data sets, one file each, and the resident form in which training reads them."""
