"""Results as pictures; never imports torch."""
