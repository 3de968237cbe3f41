"""Methods that prune a trained network, one file a method; SNACS has a folder of its own, `snacs`.

What several methods need lies here beside them: the pairs of layers, their activations, groups of channels and the choice of connections.
The methods import those files, `snip_cli.pruning` and the folders below it, never each other.
"""
