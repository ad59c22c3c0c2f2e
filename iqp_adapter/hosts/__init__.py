"""Existing restorers: what is known of them, how they are recognised and loaded, and how they get a dial."""
