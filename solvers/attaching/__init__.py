"""Recording a training loop that is not ours: hooks on its optimizer, and measurements that leave no trace."""
