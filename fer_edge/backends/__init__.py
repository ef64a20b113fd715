"""One file per engine; the file's name is the target's name. See base.py for the seam."""
