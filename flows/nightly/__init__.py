"""Nights: what a source has gained is learned from, and a better model is promoted."""
