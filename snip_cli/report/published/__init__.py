"""Published numbers, as printed (snip.py, snacs.py), and the protocols that they were measured with (protocols.py).

All of report/ may import them; they import nothing of the other rooms.
"""
