"""What a run needs from the machine: device, processes, random streams, environment, logging.

Use `own_device`, `set_up` from device.py, `ProcessGroup` from processes.py and `generator` from streams.py.
May import registry and errors only.
"""
