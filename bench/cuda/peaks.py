"""The bf16 matrix product of PyTorch on device 0, as the peak that products are compared with.

usage: peaks.py [--size 8192]     prints TFLOP/s; exit 3 where there is no PyTorch with a device
"""
import sys

try:
    import torch
except ImportError:
    sys.exit(3)


def tflops(size, repeat=20):
    """Median over `repeat` products of random matrices."""
    a, b = (torch.randn(size, size, device='cuda', dtype=torch.bfloat16) for _ in range(2))
    times = []
    for i in range(repeat + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        torch.matmul(a, b)
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(start.elapsed_time(end))
    return 2 * size ** 3 / (sorted(times)[len(times) // 2] * 1e-3) / 1e12


if __name__ == '__main__':
    if not torch.cuda.is_available():
        sys.exit(3)
    print(f'{tflops(int(sys.argv[2]) if len(sys.argv) > 2 else 8192):.1f}')
