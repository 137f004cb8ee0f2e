"""The processor, the time and the signals of this process."""
