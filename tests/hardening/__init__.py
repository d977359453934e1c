"""What breaks servers, and the judge of whether it broke this one."""
