"""Paperspace and Clarifai on loopback, by their published documents: for tests, notebooks, demos and CI."""
