"""The guard of Hydra: words, files and the composed configuration are checked before Hydra acts on them."""
