// SPDX-License-Identifier: Apache-2.0
#pragma once

// A schedule says where the anchor and the start of the next round are:
//   place(state) or place(state, memory)   called with theta = θ̂_t; leaves in theta the point from which the round starts, and in
//                                          anchor the terms of the reference, none if that is the start itself
//   keeps_anchor                           whether the terms are needed after the data have been scored
//   memory<P>                              optional: what it keeps from round to round, a type that lists its parts
//   combine(terms, log-probabilities)      optional: how terms mix, if not as Σ λ_j log π_j
//   parameters                             its numbers with names, ranges and help

#include <kedge/schedules/bema.hpp>
#include <kedge/schedules/ema.hpp>
#include <kedge/schedules/every.hpp>
#include <kedge/schedules/extrapolated_log_probs.hpp>
#include <kedge/schedules/extrapolated_weights.hpp>
#include <kedge/schedules/fixed.hpp>
#include <kedge/schedules/halpern.hpp>
#include <kedge/schedules/hand_off.hpp>
#include <kedge/schedules/harmonic.hpp>
#include <kedge/schedules/inpo.hpp>
#include <kedge/schedules/moving_magnet.hpp>
#include <kedge/schedules/recent.hpp>
#include <kedge/schedules/soup.hpp>
