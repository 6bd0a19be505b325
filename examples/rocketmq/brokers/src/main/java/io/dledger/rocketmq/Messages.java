package io.dledger.rocketmq;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Producers and a consumer of RocketMQ's own client on a cluster, who keep a book.
 */
final class Messages implements AutoCloseable {
    private static final int PRODUCERS = 4;
    private static final int BODY_BYTES = 1_000;

    private final Cluster cluster;
    private final String run;
    private final Book book;
    private final AtomicLong refused = new AtomicLong();
    private final DefaultMQPushConsumer consumer;
    private final DefaultMQProducer producer;
    private final List<Thread> threads = new ArrayList<>();
    private volatile boolean over;
    private volatile long lastMillis;

    Messages(Cluster cluster, Book book, String run) throws Exception {
        this.cluster = cluster;
        this.book = book;
        this.run = run;
        consumer = new DefaultMQPushConsumer("consumer-" + run);
        consumer.setNamesrvAddr(cluster.nameServerAddress());
        consumer.setInstanceName("consumer-" + run);
        consumer.setPollNameServerInterval(500);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(Cluster.TOPIC, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> book.consumed.add(id(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        producer = new DefaultMQProducer("producer-" + run);
        producer.setNamesrvAddr(cluster.nameServerAddress());
        producer.setInstanceName("producer-" + run);
        producer.setPollNameServerInterval(500);
        producer.setSendMsgTimeout(3_000);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
    }

    void start() {
        for (int n = 0; n < PRODUCERS; n++) {
            String name = run + "-" + n + "-";
            Thread thread = new Thread(() -> produce(name), "producer-" + n);
            thread.start();
            threads.add(thread);
        }
    }

    private void produce(String name) {
        String padding = " ".repeat(BODY_BYTES);
        for (long n = 0; !over; n++) {
            String id = name + n;
            book.sent.add(id);
            try {
                byte[] body = (id + padding).substring(0, BODY_BYTES).getBytes(StandardCharsets.US_ASCII);
                SendResult result = producer.send(new Message(Cluster.TOPIC, body));
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    book.acknowledged.put(id, new Book.Place(result.getMessageQueue().getQueueId(), result.getQueueOffset()));
                    lastMillis = System.currentTimeMillis();
                    continue;
                }
            } catch (Exception unknown) {
                // Without a leader, or its answer was lost: the message may be there.
            }
            refused.incrementAndGet();
            sleep(5);
        }
    }

    long acknowledged() {
        return book.acknowledged.size();
    }

    /** Waits for so many acknowledgements. */
    void awaitMore(int count) {
        long before = acknowledged();
        cluster.await(count + " acknowledgements", () -> acknowledged() >= before + count);
    }

    long notAcknowledged() {
        return refused.get();
    }

    /** When the last acknowledgement came. */
    long lastMillis() {
        return lastMillis;
    }

    /** Ends the load. */
    void stop() throws InterruptedException {
        over = true;
        for (Thread thread : threads) {
            thread.join();
        }
    }

    /** Waits until all that was acknowledged has been consumed, and nothing else was. */
    void checkConsumed() {
        cluster.await("what was acknowledged to be consumed", () -> book.consumed.containsAll(book.acknowledged.keySet()));
        for (String id : book.consumed) {
            if (!book.sent.contains(id)) {
                throw new IllegalStateException(id + " was consumed and never sent");
            }
        }
    }

    /**
     * Reads all queues, of the leader: each acknowledged message is where its acknowledgement said, and offsets have
     * no gap. What the others have, {@link Queues#checkPlaces} looks at when they are stopped.
     */
    @SuppressWarnings("deprecation") // the consumer that takes no part in a group
    void checkPlaces() throws Exception {
        DefaultMQPullConsumer puller = new DefaultMQPullConsumer("puller-" + run);
        puller.setNamesrvAddr(cluster.nameServerAddress());
        puller.setInstanceName("puller-" + run);
        puller.start();
        try {
            Map<Book.Place, String> places = new HashMap<>();
            for (MessageQueue queue : puller.fetchSubscribeMessageQueues(Cluster.TOPIC)) {
                long offset = puller.minOffset(queue);
                for (long end = puller.maxOffset(queue); offset < end; ) {
                    PullResult result = puller.pull(queue, "*", offset, 32);
                    List<MessageExt> found = result.getMsgFoundList();
                    if (found == null) {
                        throw new IllegalStateException(queue + " at " + offset + ": " + result);
                    }
                    for (MessageExt message : found) {
                        if (message.getQueueOffset() != offset) {
                            throw new IllegalStateException(queue + ": a gap at " + offset);
                        }
                        places.put(new Book.Place(queue.getQueueId(), offset++), id(message));
                    }
                }
            }
            book.check("the leader", places);
        } finally {
            puller.shutdown();
        }
    }

    static String id(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.US_ASCII).trim();
    }

    static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() {
        over = true;
        consumer.shutdown();
        producer.shutdown();
    }
}
