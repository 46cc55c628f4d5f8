//! Counters and histograms that one worker owns and others read.
