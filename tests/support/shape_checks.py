"""The run-time type check of the tests: beartype, with ints allowed where floats are (PEP 484)."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
