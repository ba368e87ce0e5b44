"""Methods: each a package of its own that holds all that is particular to it. Nothing outside names one."""
