"""The face of the bus for operators, `BusService`, and what each domain serves to it."""
