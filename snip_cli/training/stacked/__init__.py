"""Networks of one architecture as one: parameters with a leading replicate axis, and only the units that their masks leave alive."""
