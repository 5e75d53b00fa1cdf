//! Reader of User Behavior Insights logs.
