"""Networks as feature maps: resolve, choose levels, pool, run.

The only files of the package that import torch. The room is imported as a whole and at
first use, so ``import sklearn_gauss`` stays free of torch.
"""
