"""The doctor's findings and the support bundle."""
