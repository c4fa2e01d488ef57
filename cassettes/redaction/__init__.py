"""Credentials: masked before anything is written, found in what is written, taken out of copies."""
