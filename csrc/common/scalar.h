// The arithmetic of the ops on one element, in namespace scalar.
#pragma once

#define RF_ISA scalar
#include "common/arithmetic.h"
#undef RF_ISA
