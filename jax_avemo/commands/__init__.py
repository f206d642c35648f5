"""The commands of `avemo`: a module each, with its help, its arguments and its work."""
