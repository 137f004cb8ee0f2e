"""What is done to the examples that a model is trained on, and to no others: transforms, mixing, sampling by class."""
