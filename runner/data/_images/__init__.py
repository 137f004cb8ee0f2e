"""Folders of images: which files are read, and the pixels of one."""
