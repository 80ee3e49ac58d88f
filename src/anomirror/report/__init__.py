"""Results as images; never imports torch."""
