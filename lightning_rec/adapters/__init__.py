"""How a module that was trained before is tuned: whole, in its top layers, or by little parts."""
