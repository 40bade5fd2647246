"""Specialists: small classifiers, the committee they form, its vote and its decision."""
