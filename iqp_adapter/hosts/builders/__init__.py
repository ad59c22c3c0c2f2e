"""Classes of hosts that no package holds, with the keys and the outputs of the official ones; host files build them."""
