"""Clients and upstreams that mean harm, the good streams that must not notice, and an hour of both (`make soak`)."""
