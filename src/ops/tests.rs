//! Conversations with a scripted kernel.
