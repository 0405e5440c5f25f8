"""What every process tells of itself: numbers, health and spans. Costs nothing of what nobody asks for."""
