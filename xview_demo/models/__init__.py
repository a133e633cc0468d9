"""Networks: tensors in, tensors out. Families do not import one another; shared parts are in `blocks` and `hub`."""
