"""What Hydra may load and do is checked before it does it: words, files and the composed configuration."""
