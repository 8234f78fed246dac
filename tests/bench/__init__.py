"""`make bench`: what a person waits for and what the appliance costs, seen from outside, beside a minimal client."""
