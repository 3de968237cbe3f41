"""Methods that prune a network before it is trained; one file each, found by looking.

What several methods need lies here beside them: connection sensitivity and rounds of scoring. The methods import those files,
`snip_cli.pruning` and the folders below it, never each other. May import what pruning may.
"""
