"""The core, which knows torch alone: a quality, and what adapters add to features at the sites of a host."""
