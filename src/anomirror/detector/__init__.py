"""What every detector is made of; the methods themselves are in :mod:`anomirror.detectors`."""
