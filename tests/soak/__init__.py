"""Random people and random faults for a long time: what does the device hold at the end that it did not hold before?"""
