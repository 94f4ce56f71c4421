"""Commands, one file each. ``basicsr`` trains and tests, ``wnet`` does the rest."""
