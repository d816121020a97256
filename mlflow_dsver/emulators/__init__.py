"""A kit for emulators of services on loopback: for tests, notebooks, demos and continuous integration."""
