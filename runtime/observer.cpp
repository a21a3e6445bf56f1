#include "runtime/observer.hpp"

namespace evictlab::runtime {

void ForwardObserver::on_layer_states(Index /*layer*/, const LayerStates& /*states*/) {}
void ForwardObserver::on_attention(Index /*layer*/, Index /*query_head*/, Index /*first_position*/,
                                   const RowMatrixView& /*probabilities*/) {}
void ForwardObserver::on_layer_end(Index /*layer*/) {}

}  // namespace evictlab::runtime
