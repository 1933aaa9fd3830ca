"""`lotus batch`: folders, image sequences and videos, on one machine or many, without losing finished work."""
