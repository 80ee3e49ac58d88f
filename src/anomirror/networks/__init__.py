"""Network architectures: no losses, no files, no devices."""
