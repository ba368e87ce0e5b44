"""A WebUI to test in: the two hosts' documented behaviour around real networks, and nothing else of them.

It loads the real ``scripts/uniid.py`` and calls its hooks in the hosts' order, swallows what they raise, and
lays out the rows of a UNet call as each host does. Texts are encoded at random, by content; latents become
pictures by a fixed projection. Everything between those two ends is real.
"""
