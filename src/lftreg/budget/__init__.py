"""What a training run will take, told before it: memory, time and money."""
