package io.dledger.rocketmq;

import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** What was sent, what was acknowledged and where, and what was consumed, through all lives of a cluster. */
final class Book {
    final Set<String> sent = ConcurrentHashMap.newKeySet();
    final Map<String, Place> acknowledged = new ConcurrentHashMap<>();
    final Set<String> consumed = ConcurrentHashMap.newKeySet();

    /** Each acknowledged message is, among these places of somebody, where its acknowledgement said. */
    void check(String whose, Map<Place, String> places) {
        Set<String> all = new HashSet<>(places.values());
        acknowledged.forEach((id, place) -> {
            if (!id.equals(places.get(place))) {
                throw new IllegalStateException(id + " was acknowledged at " + place + ", where " + whose + " has "
                        + places.get(place) + (all.contains(id) ? "; it is elsewhere" : "; it is nowhere"));
            }
        });
    }

    /** Where an acknowledgement says that a message is. */
    static final class Place {
        final int queue;
        final long offset;

        Place(int queue, long offset) {
            this.queue = queue;
            this.offset = offset;
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Place && ((Place) other).queue == queue && ((Place) other).offset == offset;
        }

        @Override
        public int hashCode() {
            return Long.hashCode(offset * 31 + queue);
        }

        @Override
        public String toString() {
            return "queue " + queue + ", offset " + offset;
        }
    }
}
